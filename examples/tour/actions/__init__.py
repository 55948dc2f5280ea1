"""The tour: each module shows one side of actions. Begin with `products`, the simplest."""
