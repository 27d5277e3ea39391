"""Example generation once more, one piece at a time in plain Python: what the columns of the real one must equal."""

from __future__ import annotations

import bisect

_WORD = 2**64 - 1


def draw(key: int, index: int) -> int:
    """SplitMix64 from state `key`: output number `index`."""
    z = (key + 0x9E3779B97F4A7C15 * (index + 1)) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)


def halves(bits: int) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    return (bits >> 32) / 2**32, (bits & (2**32 - 1)) / 2**32


def document_key(seed: int, document_id: str) -> int:
    return draw(draw(int(document_id[:16], 16), int(document_id[16:], 16)), seed)


def examples(document, tokenizer, settings, copies):
    """(input_ids, segment_a_length, label, weight, positions, labels) of each example, in order."""
    sentences = [ids.tolist() for ids in tokenizer.encode(document.sentences).rows()]
    sentences = [part for ids in sentences for part in _broken(ids, tokenizer, settings) if part]
    for copy in range(copies):
        lane = draw(document_key(settings.random_seed, document.document_id), copy)
        yield from _copy(sentences, tokenizer, settings, lane)


def _begins(ids, position, tokenizer, settings) -> bool:
    return position == 0 or not settings.do_whole_word_mask or bool(tokenizer.starts_word[ids[position]])


def _broken(ids, tokenizer, settings):
    longest = settings.max_seq_length - 3
    if len(ids) <= longest:
        return [ids]
    parts = []
    while len(ids) > longest // 2:
        at = next((i for i in range(longest // 2, 0, -1) if _begins(ids, i, tokenizer, settings)), longest // 2)
        parts, ids = [*parts, ids[:at]], ids[at:]
    return [*parts, ids]


def _copy(sentences, tokenizer, settings, lane):
    longest = settings.max_seq_length - 3
    first = place = 0
    while first < len(sentences):
        key = draw(lane, place)
        is_short, length = halves(draw(key, 0))
        cut, swap = halves(draw(key, 1))
        target = 2 + int(length * (longest - 1)) if is_short < settings.short_seq_prob else longest
        chunk = [sentences[first]]
        for sentence in sentences[first + 1 :]:
            size = sum(map(len, chunk))
            if size + len(sentence) > longest or (len(chunk) > 1 and size >= target):
                break
            chunk.append(sentence)
        first, place = first + len(chunk), place + 1
        ordered = len(chunk) > 1
        if ordered:
            at = 1 + int(cut * (len(chunk) - 1))
            words = [_words(sentence, tokenizer, settings) for sentence in chunk]
            runs = [[w for sentence in part for w in sentence] for part in (words[:at], words[at:])]
        else:
            words = _words(chunk[0], tokenizer, settings)
            if len(words) < 2 or settings.single_sentence == "skip":
                continue
            at = 1 + int(cut * (len(words) - 1))
            runs = [words[:at], words[at:]]
        ordered = ordered and settings.sentence_order
        swapped = ordered and swap < 0.5
        # A long sentence that was broken inside a word goes on with that word where both parts are in one segment.
        runs = [_words([i for word in run for i in word], tokenizer, settings) for run in runs]
        a, b = runs[::-1] if swapped else runs
        yield (*_masked(a, b, tokenizer, settings, draw(key, 1 << 20)), int(swapped), int(ordered))


def _words(ids, tokenizer, settings):
    words = []
    for position in range(len(ids)):
        if _begins(ids, position, tokenizer, settings):
            words.append([])
        words[-1].append(ids[position])
    return words


def _masked(a, b, tokenizer, settings, key):
    """Masks two segments, lists of words."""
    ids, places = [tokenizer.cls_id], []
    for number, segment in enumerate((a, b)):
        for word in segment:
            places.append((number, len(ids), len(word)))
            ids += word
        ids.append(tokenizer.sep_id)
    budget = min(settings.max_predictions_per_seq, max(1, round(settings.masked_lm_prob * len(ids))))
    weights = [1 / n for n in range(1, settings.ngram + 1)]
    law = [sum(weights[: n + 1]) / sum(weights) for n in range(settings.ngram)]
    if not settings.favor_shorter_ngram:
        law = [sum(weights[::-1][: n + 1]) / sum(weights) for n in range(settings.ngram)]
    taken, attempt = set(), 0
    while budget and any(i not in taken and places[i][2] <= budget for i in range(len(places))):
        high, low = halves(draw(key, attempt))
        attempt += 1
        if attempt <= 48:
            word = int(high * len(places))
        else:
            fitting = [i for i in range(len(places)) if i not in taken and places[i][2] <= budget]
            word = fitting[int(high * len(fitting))]
        size = 1 + bisect.bisect_right([round(p * 2**32) / 2**32 for p in law[:-1]], low)
        for w in range(word, min(word + size, len(places))):
            if w in taken or places[w][2] > budget or places[w][0] != places[word][0]:
                break
            taken.add(w)
            budget -= places[w][2]
    positions = [start + i for _, start, length in (places[w] for w in sorted(taken)) for i in range(length)]
    labels, masked = [ids[p] for p in positions], list(ids)
    for number, position in enumerate(positions):
        other, fate = halves(draw(key, (1 << 20) + number))
        if fate < round(0.8 * 2**32) / 2**32:
            masked[position] = tokenizer.mask_id
        elif fate < round(0.9 * 2**32) / 2**32:
            masked[position] = int(tokenizer.ordinary_ids[int(other * len(tokenizer.ordinary_ids))])
    return masked, sum(map(len, a)) + 2, positions, labels
