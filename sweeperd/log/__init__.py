"""Events, sentences, formats."""
