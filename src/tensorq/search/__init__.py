"""Search of settings: trials by Optuna, each a few runs in one folder, and a preset of the best."""
