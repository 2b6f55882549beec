"""Where rows go before they are deleted."""
