"""A finished checkpoint to the Hugging Face hub: the folder as it is, with a card that says where it comes from.

`huggingface_hub` (a dependency of open_clip) does the work; its token comes from HF_TOKEN or `hf auth login`.
"""

import json
from pathlib import Path

from clipcore.errors import ClipcoreError
from clipcore.towers import CONFIG_FILE, WEIGHTS_FILE


def push(
    folder: str | Path, repository: str, *, base: str = "", licence: str = "", private: bool = True
) -> str:
    """Uploads an exported checkpoint to ORGANISATION/NAME and returns its address.

    open_clip loads the result by `hf-hub:ORGANISATION/NAME`. `base` is the hub name of the model it was tuned from.
    Raises ClipcoreError without a token, for a folder that holds no checkpoint, and when the hub refuses or does not answer.
    """
    from huggingface_hub import HfApi, get_token

    source = Path(folder)
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (source / name).is_file()]
    if missing:
        raise ClipcoreError(
            f"{source} lacks {', '.join(missing)}: give the `checkpoint` folder of a finished run."
        )
    if not get_token():
        raise ClipcoreError("There is no hub token: set HF_TOKEN or run `hf auth login`, then push again.")
    (source / "README.md").write_text(card(repository, base=base, licence=licence), encoding="utf-8")
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=source, commit_message="Fine-tuned with clipcore"
        )
    except Exception as error:  # a network that is away has another class in each version of the client
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClipcoreError(
            f"The hub did not take {repository} ({first}): check the name, the token's rights and the network."
        ) from error
    return str(done.repo_url)


def card(repository: str, *, base: str = "", licence: str = "") -> str:
    """The README of the repository: metadata that the hub reads, and how to load it."""
    facts = {"library_name": "open_clip", "pipeline_tag": "zero-shot-image-classification"}
    facts |= {"base_model": base} if base else {}
    facts |= {"license": licence} if licence else {}
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in facts.items())
    return (
        f"---\n{head}\n---\n\n# {repository}\n\nA CLIP fine-tuned with clipcore on pairs and labelled negatives.\n\n"
        f'```python\nimport open_clip\nmodel, _, preprocess = open_clip.create_model_and_transforms("hf-hub:{repository}")\n```\n'
    )
