"""The platform around reelsort, played: authors' profiles and what viewers of generated videos do."""
