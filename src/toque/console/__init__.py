"""The web pages on which a developer watches the app: first of all its documentation."""
