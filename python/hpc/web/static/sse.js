// Server-sent events out of a response, as they come. It knows nothing of what they say.
//
// A fetch is read in place of an EventSource because that one tells neither the status of a refusal
// nor that a proxy holds the bytes back, and goes on while nobody looks.

// Calls take([{id, event, data}…]) for each piece that arrives, empty where it was a comment alone.
export async function read(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    take(blocks.map(message).filter((said) => said.data !== undefined || said.id !== undefined));
  }
}

function message(block) {
  const said = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) said[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return said;
}
