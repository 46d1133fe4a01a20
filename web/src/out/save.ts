/** Hands a file to the browser's download; the page itself sends nothing anywhere. */

export function save(data: BlobPart | Blob, name: string, type: string): void {
  const blob = data instanceof Blob ? data : new Blob([data], { type }),
    url = URL.createObjectURL(blob),
    link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
