"""Edited voxels belong to the user until the stroke is undone."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.editing.corrections import (
    Corrections,
    corrections_from,
    corrections_of,
)
from napari_liverseg.editing.edited import HISTORY, EditedVoxels
from napari_liverseg.editing.merge import block_from, write_around
from napari_liverseg.editing.patch import Patch, union

SHAPE = (5, 9, 13)
WHOLE = tuple(slice(0, n) for n in SHAPE)


def _box(z, y, x, size=3):
    return slice(z, z + 1), slice(y, y + size), slice(x, x + size)


def _full(box):
    return np.ones([s.stop - s.start for s in box], bool)


class Painter:
    """A mask with edits and the plain undo history that a viewer keeps."""

    def __init__(self):
        self.data = np.zeros(SHAPE, np.uint8)
        self.edits = EditedVoxels(SHAPE)
        self.model = np.zeros(SHAPE, np.uint8)
        self._old, self._new = [], []

    def paint(self, box, value):
        self.edits.touch(box, _full(box))
        changed = bool((self.data[box] != value).any())
        if changed:
            where = self.data[box] != value
            self._old.append((box, where, self.data[box][where], value))
            self._new.clear()
            self.data[box] = value
        self.edits.finish_stroke(changed_mask=changed)

    def run(self, model):
        self.model = model
        write_around(self.data, self.edits.mask, WHOLE, model)

    def undo(self):
        stroke = self.edits.undo(self.data)
        if stroke is None:
            return
        if stroke.changed_mask:
            box, where, old, value = self._old.pop()
            self._new.append((box, where, old, value))
            self.data[box][where] = old
        write_around(self.data, self.edits.mask, WHOLE, self.model)

    def redo(self):
        following = self.edits.next_redo
        if following is None:
            return
        if following.changed_mask:
            box, where, old, value = self._new.pop()
            self._old.append((box, where, old, value))
            self.data[box][where] = value
        self.edits.redo(self.data)


def test_program_never_writes_an_edited_voxel():
    painter = Painter()
    painter.paint(_box(2, 3, 4), 1)
    painter.run(np.zeros(SHAPE, np.uint8))
    assert painter.data.sum() == 9
    painter.run(np.ones(SHAPE, np.uint8))
    painter.paint(_box(2, 3, 4), 0)
    painter.run(np.ones(SHAPE, np.uint8))
    assert painter.data[_box(2, 3, 4)].sum() == 0
    assert painter.data.sum() == painter.data.size - 9


def test_painting_what_is_already_there_affirms_it():
    painter = Painter()
    painter.run(np.ones(SHAPE, np.uint8))
    painter.paint(_box(1, 2, 7), 1)
    painter.run(np.zeros(SHAPE, np.uint8))
    assert painter.data[_box(1, 2, 7)].all()
    assert painter.data.sum() == 9
    painter.undo()
    assert painter.data.sum() == 0


def test_undo_gives_voxels_back_to_the_current_model():
    painter = Painter()
    painter.paint(_box(2, 3, 4), 1)
    model = np.zeros(SHAPE, np.uint8)
    model[2, 3, 4] = 1
    painter.run(model)
    painter.undo()
    np.testing.assert_array_equal(painter.data, model)
    assert painter.edits.count == 0


def test_redo_brings_back_the_users_values_after_a_run():
    painter = Painter()
    painter.paint(_box(2, 3, 4), 1)
    painter.undo()
    painter.run(np.ones(SHAPE, np.uint8))
    painter.run(np.zeros(SHAPE, np.uint8))
    painter.redo()
    painter.run(np.zeros(SHAPE, np.uint8))
    assert painter.data[_box(2, 3, 4)].all()
    assert painter.edits.count == 9


def test_undo_of_a_second_stroke_keeps_the_first():
    painter = Painter()
    painter.paint(_box(2, 3, 4), 1)
    painter.paint(_box(2, 4, 5), 0)
    painter.run(np.ones(SHAPE, np.uint8))
    painter.undo()
    painter.run(np.zeros(SHAPE, np.uint8))
    expected = np.zeros(SHAPE, np.uint8)
    expected[_box(2, 3, 4)] = 1
    np.testing.assert_array_equal(painter.data, expected)


def test_abandoned_stroke_leaves_no_edit():
    edits = EditedVoxels(SHAPE)
    edits.touch(_box(0, 0, 0), _full(_box(0, 0, 0)))
    edits.touch(_box(0, 1, 1), _full(_box(0, 1, 1)))
    assert edits.in_stroke
    edits.abandon_stroke()
    assert edits.count == 0
    assert not edits.mask.any()
    assert edits.undo(np.zeros(SHAPE, np.uint8)) is None


def test_history_is_as_long_as_the_viewers():
    edits = EditedVoxels(SHAPE)
    data = np.zeros(SHAPE, np.uint8)
    for index in range(HISTORY + 5):
        z, rest = divmod(index, 9 * 13)
        y, x = divmod(rest, 13)
        edits.touch(_box(z, y, x, 1), np.ones((1, 1, 1), bool))
        edits.finish_stroke(changed_mask=True)
    undone = 0
    while edits.undo(data) is not None:
        undone += 1
    assert undone == HISTORY
    assert edits.count == 5


operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("paint"),
            st.integers(0, 4),
            st.integers(0, 6),
            st.integers(0, 10),
            st.integers(0, 2),
        ),
        st.tuples(st.just("run"), st.integers(0, 2**31)),
        st.tuples(st.just("undo")),
        st.tuples(st.just("redo")),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(operations)
def test_any_order_of_work_keeps_edits_and_model_apart(steps):
    """What is not edited equals the model; a full undo equals the model too."""
    painter = Painter()
    for step in steps:
        if step[0] == "paint":
            painter.paint(_box(*step[1:4]), step[4])
        elif step[0] == "run":
            random = np.random.default_rng(step[1])
            before = painter.data.copy()
            painter.run(random.integers(0, 2, SHAPE, dtype=np.uint8))
            kept = painter.edits.mask
            np.testing.assert_array_equal(painter.data[kept], before[kept])
        else:
            getattr(painter, step[0])()
        free = ~painter.edits.mask
        np.testing.assert_array_equal(painter.data[free], painter.model[free])
        assert painter.edits.count == np.count_nonzero(painter.edits.mask)
    for _ in steps:
        painter.undo()
    np.testing.assert_array_equal(painter.data, painter.model)


def test_union_of_patches_is_their_voxels():
    boxes = [_box(1, 0, 2), _box(3, 5, 8), _box(1, 1, 3)]
    whole = np.zeros(SHAPE, bool)
    for box in boxes:
        whole[box] = True
    joined = union([Patch.pack(box, _full(box)) for box in boxes])
    np.testing.assert_array_equal(joined.mask, whole[joined.box])
    assert joined.count == whole.sum()


@pytest.mark.parametrize("start", [(0, 0, 0), (2, 4, 7), (4, 8, 12)])
def test_block_from_another_box_pads_with_background(start):
    source_box = (slice(1, 4), slice(2, 8), slice(3, 11))
    whole = np.zeros(SHAPE, np.uint8)
    whole[source_box] = np.random.default_rng(3).integers(1, 9, (3, 6, 8))
    wanted = tuple(slice(a, n) for a, n in zip(start, SHAPE, strict=True))
    got = block_from(whole[source_box], source_box, wanted)
    np.testing.assert_array_equal(got, whole[wanted])


def test_corrections_write_back_what_was_painted():
    painter = Painter()
    painter.run(np.ones(SHAPE, np.uint8))
    painter.paint(_box(2, 3, 4), 0)
    painter.paint(_box(4, 0, 9), 1)
    found = corrections_of(painter.data, painter.edits)
    fresh, edits = np.ones(SHAPE, np.uint8), EditedVoxels(SHAPE)
    found.write(fresh, edits)
    np.testing.assert_array_equal(fresh, painter.data)
    np.testing.assert_array_equal(edits.mask, painter.edits.mask)
    everything = Corrections(SHAPE, datetime.now(UTC), {"liver": found})
    assert everything.count == 18


def test_no_edits_are_no_corrections():
    painter = Painter()
    painter.paint(_box(2, 3, 4), 1)
    painter.undo()
    assert corrections_of(painter.data, painter.edits) is None


def test_restored_corrections_leave_later_edits():
    earlier = Painter()
    earlier.paint(_box(2, 3, 4), 1)
    found = corrections_of(earlier.data, earlier.edits)
    painter = Painter()
    painter.paint(_box(2, 4, 5), 0)
    found.write(painter.data, painter.edits)
    expected = np.zeros(SHAPE, np.uint8)
    expected[_box(2, 3, 4)] = 1
    expected[_box(2, 4, 5)] = 0
    np.testing.assert_array_equal(painter.data, expected)
    assert painter.edits.count == np.count_nonzero(painter.edits.mask) == 9 + 9 - 4


def test_finished_masks_claim_the_whole_volume():
    labels = np.zeros(SHAPE, np.uint8)
    labels[_box(2, 3, 4)] = 1
    labels[2, 4, 5] = 2
    found = corrections_from(Segmentation(labels, Geometry(SHAPE)), datetime.now(UTC))
    assert found.count == 2 * labels.size
    for mask, expected in (("liver", labels > 0), ("tumour", labels == 2)):
        data, edits = np.ones(SHAPE, np.uint8), EditedVoxels(SHAPE)
        found.masks[mask].write(data, edits)
        np.testing.assert_array_equal(data, expected)
        assert edits.mask.all()
        again = corrections_of(data, edits)
        np.testing.assert_array_equal(again.values, data.ravel())
        np.testing.assert_array_equal(again.edited.mask, edits.mask)


def test_corrections_fit_the_grid_that_they_were_made_on():
    grid = Geometry(SHAPE, (3.0, 0.9, 0.7), (-120.5, 14.0, 33.25))
    made = Corrections(SHAPE, datetime.now(UTC), {}, grid)
    rounded = Geometry(SHAPE, (3.0, 0.9004, 0.7), (-120.5, 14.1, 33.25))
    assert made.fit(grid)
    assert made.fit(rounded)
    assert not made.fit(Geometry(SHAPE, (3.0, 0.9, 0.7), (-117.5, 14.0, 33.25)))
    assert not made.fit(Geometry(SHAPE, (3.0, 0.9, 0.8), (-120.5, 14.0, 33.25)))
    of_old_journal = Corrections(SHAPE, datetime.now(UTC), {})
    assert of_old_journal.fit(Geometry(SHAPE))
    assert not of_old_journal.fit(Geometry(SHAPE[::-1]))


@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_a_full_patch_is_every_voxel(size):
    box = (slice(1, 2), slice(0, 1), slice(3, 3 + size))
    patch = Patch.full(box)
    assert patch.mask.all()
    assert patch.mask.size == patch.count == size
