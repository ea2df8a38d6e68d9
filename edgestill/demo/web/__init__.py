"""The web view of a run: pictures, lights, charts and controls in a browser, and figures for monitors."""
