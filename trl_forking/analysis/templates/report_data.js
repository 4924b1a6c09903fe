// The data of this page: arrays over all tokens of all answers, one answer after the other.

const UNKNOWN = 0xffff;
const IdArray = data.vocabulary.length > 0xffff ? Uint32Array : Uint16Array;
const entropies = decodeArray(data.tokens.entropies, Float32Array);
const order = decodeArray(data.tokens.order, Uint32Array); // all tokens, the highest entropy first
const ids = decodeArray(data.tokens.ids, IdArray);
const surprisals = decodeArray(data.tokens.surprisals, Uint16Array); // -log p in thousandths of a nat
const topIds = decodeArray(data.tokens.top_ids, IdArray);
const topSurprisals = decodeArray(data.tokens.top_surprisals, Uint16Array);
const drawn = decodeArray(data.tokens.drawn, Uint8Array); // place of the drawn token among the alternatives
const trained = decodeArray(data.tokens.trained, Uint8Array);
const ruleScores = decodeArray(data.tokens.scores, Float32Array); // what a rule ranks the tokens by, or nothing

const numTokens = entropies.length;
const ranks = new Uint32Array(numTokens);
order.forEach((index, rank) => { ranks[index] = rank; });

const answerOf = new Uint32Array(numTokens);
let offset = 0;
data.answers.forEach((answer, number) => {
  answer.number = number;
  answer.start = offset;
  answer.end = offset + answer.length;
  answerOf.fill(number, answer.start, answer.end);
  offset = answer.end;
});

function decodeArray(base64, ArrayType) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new ArrayType(bytes.buffer);
}

const getText = (index) => data.vocabulary[ids[index]];
const getLevel = (nats) => data.bounds.filter((bound) => nats >= bound).length;

function getAlternatives(index) {
  const found = [];
  for (let i = index * data.num_alternatives; i < (index + 1) * data.num_alternatives; i++) {
    if (topSurprisals[i] !== UNKNOWN) {
      found.push({ text: data.vocabulary[topIds[i]], surprisal: topSurprisals[i] });
    }
  }
  return found;
}

function formatProbability(surprisal) {
  if (surprisal === UNKNOWN) return "unknown";
  if (surprisal === 0) return "> 99.9 %";
  const percent = 100 * Math.exp(-surprisal / 1000);
  if (percent < 0.01) return "< 0.01 %";
  return `${percent >= 10 ? percent.toFixed(1) : percent.toPrecision(2)} %`;
}

function formatNumber(value) {
  if (Number.isInteger(value)) return formatCount(value);
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}
