"""A generated dataset in which every modality, and the order of frames, is needed to tell the classes apart."""
