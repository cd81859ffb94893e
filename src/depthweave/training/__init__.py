"""Training of matchers: recipes, data, the loop and what it leaves behind."""
