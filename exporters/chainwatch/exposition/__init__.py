"""How measurements become /metrics: collector contract, runner, HTTP."""
