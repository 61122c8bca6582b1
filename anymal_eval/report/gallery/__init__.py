"""The static gallery: a folder that opens from the file system, without a server and without a network.

    index.html            the run at a glance          tasks/<task>.html     numbers, plots, and the examples
    assets/               our script and style         plots/                SVG, light and dark
    data/<task>/          examples in chunks           media/                pictures, sounds, clips by content

Whatever a model said reaches the page as data alone: a chunk is one call with one string literal, which the script
parses as JSON and writes as text nodes. The pages' Content-Security-Policy allows files of the folder and nothing else.
"""
