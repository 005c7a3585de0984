"""A person takes the next items: they are leased to that person, and controls are mixed in."""

import random
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from app.actions.controls import draw_control
from app.actions.lease_items import lease_items
from app.store.models import Caption, Control, DataSet
from app.store.reads.boards import CANDIDATES, Board, Boards
from app.store.reads.queue import Queue, QueueItem, own_images, own_pairs

PLAIN = ("match", "no_match")


def take_queue(session: Session, data_set_id: int, queue: Queue, *, person: str) -> Queue:
    """The queue with the items that this person got, and now and then a control between them."""
    mine = lease_items(session, suggestion_ids=[i.suggestion_id for i in queue.items], person=person)
    items = [i for i in queue.items if i.suggestion_id in mine]
    rng, share = random.SystemRandom(), _share(session, data_set_id)
    for _ in range(sum(rng.random() < share for _ in items)):
        control = draw_control(session, data_set_id, person=person)
        if control is not None:
            items.insert(rng.randint(1, len(items)), _disguised(session, control, items))
    return replace(queue, items=items)


def take_boards(session: Session, data_set_id: int, boards: Boards, *, person: str) -> Boards:
    """The boards with the items that this person got, and now and then a cell that is a control."""
    every = [i.suggestion_id for board in boards.boards for i in board.items]
    mine = lease_items(session, suggestion_ids=every, person=person)
    share = _share(session, data_set_id)
    kept = []
    for board in boards.boards:
        items = [i for i in board.items if i.suggestion_id in mine]
        if items:
            kept.append(_with_control(session, data_set_id, replace(board, items=items), share, person))
    return replace(boards, boards=kept)


def _with_control(session: Session, data_set_id: int, board: Board, share: float, person: str) -> Board:
    rng, items = random.SystemRandom(), board.items
    if rng.random() >= share * len(items):
        return board
    first = items[0]
    by_image = board.anchor == "image"
    control = draw_control(
        session,
        data_set_id,
        person=person,
        image_id=first.image_id if by_image else None,
        caption_id=None if by_image else first.caption_id,
    )
    if control is None:
        return board
    if control.expected == "match":  # its caption must not stand beside the image as the image's own
        items = [_without_own(i, control.caption_id) for i in items]
    items = items[: CANDIDATES - 1]
    at = rng.randint(1, len(items))
    return replace(board, items=[*items[:at], _disguised(session, control, items), *items[at:]])


def _disguised(session: Session, control: Control, beside: Sequence[QueueItem]) -> QueueItem:
    """The control in the dress of a suggestion: a neighbour's probability and reasons, proposed right or wrong."""
    rng = random.SystemRandom()
    dress = rng.choice([i for i in beside if i.proposed in PLAIN] or list(beside))
    proposed = rng.choice(PLAIN)
    surely = max(dress.probability, 1.0 - dress.probability)
    text = session.get_one(Caption, control.caption_id).text
    pairs = own_pairs(session, [control.image_id]).get(control.image_id, [])
    images = own_images(session, [control.caption_id]).get(control.caption_id, [])
    item = replace(
        dress,
        suggestion_id=-control.id,
        image_id=control.image_id,
        caption_id=control.caption_id,
        caption=text,
        own_captions=[pair.caption for pair in pairs],
        own_pairs=pairs,
        own_images=[i for i in images if i != control.image_id],
        proposed=proposed,
        probability=surely if proposed == "match" else 1.0 - surely,
        group_key="",
        num_alike=0,
    )
    return _without_own(item, control.caption_id)


def _without_own(item: QueueItem, caption_id: int) -> QueueItem:
    pairs = [pair for pair in item.own_pairs if pair.caption_id != caption_id]
    return replace(item, own_pairs=pairs, own_captions=[pair.caption for pair in pairs])


def _share(session: Session, data_set_id: int) -> float:
    return session.get_one(DataSet, data_set_id).control_share
