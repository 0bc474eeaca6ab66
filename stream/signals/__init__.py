"""The signals job: single actions in, snapshots of a video's engagement out. Faust keeps the tallies, and their log."""
