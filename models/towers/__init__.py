"""Encoders of one modality that may come with published weights: pictures and text."""
