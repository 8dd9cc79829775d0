"""The HTML report: `facts` gathers values, `charts` lays out geometry, `build` renders one self-contained page."""
