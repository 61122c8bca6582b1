"""The static gallery: a folder that opens from the file system, without a server or a network.

    index.html            summary of the run           tasks/<task>.html     numbers, plots, and the examples
    assets/               scripts and style
    data/<task>/          examples in chunks           media/                images, audio, video by content digest

A model's output reaches the page only as data: a chunk is one call with one string literal, which the script parses as
JSON and writes as text nodes. The pages' Content-Security-Policy allows only files of the folder.
"""
