"""The quick adapter works out of the box: its defaults improve what the demo's base model finds among held-out drawings."""

import pytest
from recipes import demo, measured, rasterised


@pytest.mark.timeout(600)
def test_the_adapters_defaults_improve_held_out_map_on_a_part_of_the_demo():
    # a third of the training drawings, so that it takes seconds; LoRA takes 80 s and stays in benchmarks/recipes.py
    found = measured(demo(rasterised(num_train=1200), "validation"), "adapter", 0, {})
    assert found["after"] > found["before"] + 0.01, found
