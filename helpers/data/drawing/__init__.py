"""The parts that `helpers.data.render` makes its photographs of cards from."""
