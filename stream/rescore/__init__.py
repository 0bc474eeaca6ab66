"""The rescore job: what becomes known of authors and audiences reaches the labels."""
