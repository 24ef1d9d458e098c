"""Hostile tests: what a machine, a disk or a user does to a training at the worst moment.

`make test` runs them all, in under 20 seconds; `make soak` runs them round after round. So each
takes its counts and its chance from `conftest`, and may say what it did::

    from conftest import SCALE, SEED, cases

    @cases(200)  # 2,000 in a round of a soak
    @given(bit=st.integers(0, 7), place=st.floats(0, 1))
    def test_a_flipped_bit_is_found(bit, place): ...

    def test_killed_within_an_epoch(tmp_path, record_property):
        generator = random.Random(SEED)  # 0 in `make test`
        for _ in range(5 * SCALE): ...
        record_property("kills", 5 * SCALE)  # A soak adds these up, by name, and prints them.
"""
