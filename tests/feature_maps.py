"""How a feature map is put into `Rows` piece by piece, for the tests of bands and of sweeps."""


def fill(rows, picture, *heights):
    """`rows`, with `picture` put into it in pieces of these heights."""
    for piece in picture.split(heights, dim=2):
        rows.put(piece)
    return rows
