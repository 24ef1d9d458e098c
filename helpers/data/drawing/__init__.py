"""Cards from code: flat faces, photographs of them, and whole decks."""
