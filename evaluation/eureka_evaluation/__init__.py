"""Pure analysis on arrays: episodes, fitness statistics, components, trajectories."""
