"""The tour: each module shows one side of actions. Start at `products`, the simplest."""
