"""The running system: one module or folder per job, and the runtime parts that jobs share."""
