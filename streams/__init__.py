"""The Faust applications: change detection and follow-up."""
