"""The review desk in a terminal: the queue, finding a category, one reviewer's round through the tasks."""
