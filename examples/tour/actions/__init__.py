"""The tour: each module shows one feature of actions. Start with `products`, the simplest."""
