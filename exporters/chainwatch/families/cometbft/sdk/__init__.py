"""What a chain built with the Cosmos SDK tells of its validators: names, slashing, upgrades."""
