"""The only home of SQL text: pure builders."""
