"""What people's behaviour says of a video: actions added up, features of them, and the head that weighs them."""
