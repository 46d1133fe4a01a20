"""Charts of models too large to copy: walked module by module."""

from lossatlas.chart.streamed._surface import StreamedSurface as StreamedSurface
