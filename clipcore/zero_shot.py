"""Zero-shot classification: each class is the mean of its names in templates. Source: CLIP (Radford et al. 2021, 3.1.4).

I images, K classes, T templates, D embedding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipcore.errors import ClipcoreError

CHUNK = 1024
TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "{}")


@torch.no_grad()
def zero_shot_weights(
    encode_captions: Callable[[Sequence[str]], Tensor],
    class_names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
) -> Tensor:
    """One normalised vector a class [K, D]: its captions' normalised embeddings, averaged over the templates.

    `encode_captions` maps texts to embeddings [m, D], for example `lambda texts: towers.captions(towers.tokens(texts))`.
    Raises ClipcoreError for a template without {}, and for a class name that stands twice.
    """
    if not class_names or not templates:
        raise ClipcoreError("There is nothing to classify by: give at least one class name and one template.")
    for template in templates:
        if "{}" not in template:
            raise ClipcoreError(f"The template {template!r} has no {{}}: write where the class name goes.")
    twice = [name for name in set(class_names) if list(class_names).count(name) > 1]
    if twice:
        raise ClipcoreError(
            f"The class name {min(twice)!r} stands twice: no picture could tell the two apart."
        )
    rows = []
    for name in class_names:
        embedding_TD = normalize(encode_captions([t.replace("{}", name) for t in templates]), dim=1)
        rows.append(normalize(embedding_TD.mean(0), dim=0))
    return torch.stack(rows)


@torch.no_grad()
def zero_shot_metrics(
    image_ID: Tensor, class_KD: Tensor, label_I: Sequence[int] | Tensor
) -> dict[str, float]:
    """`top1`, `top5` and `mean_per_class` (the mean of the classes' top-1, each class counting once), in 0 … 1.

    `label_I` are class numbers. A tie counts half of the tied classes as before; nan without images.
    """
    label_I = torch.as_tensor(label_I, dtype=torch.long, device=image_ID.device)
    if len(label_I) != len(image_ID):
        raise ClipcoreError(f"There are {len(label_I)} labels for {len(image_ID)} images: give one an image.")
    if len(label_I) == 0:
        return dict.fromkeys(("top1", "top5", "mean_per_class"), float("nan"))
    if int(label_I.min()) < 0 or int(label_I.max()) >= len(class_KD):
        raise ClipcoreError(f"A label lies outside 0 … {len(class_KD) - 1}: number the classes from 0.")
    ranks = []
    for i in range(0, len(label_I), CHUNK):
        score_IK = image_ID[i : i + CHUNK].float() @ class_KD.float().T
        own_I1 = score_IK.gather(1, label_I[i : i + CHUNK, None])
        greater, equal = (score_IK > own_I1).sum(1), (score_IK == own_I1).sum(1)
        ranks.append(1 + greater + (equal - 1) / 2)
    rank_I = torch.cat(ranks)
    right_I = (rank_I <= 1).double()
    total_K = torch.bincount(label_I, minlength=len(class_KD))
    right_K = torch.zeros_like(total_K, dtype=torch.float64).index_add(0, label_I, right_I)
    return {
        "top1": float(right_I.mean()),
        "top5": float((rank_I <= 5).double().mean()),
        "mean_per_class": float((right_K / total_K)[total_K > 0].mean()),
    }
