"""Cards from code: flat faces, photographs of them, decks, drawings made while one trains."""
