"""Text to pre-training examples, in numpy: documents, tokenizer, sentence-order pairs, masks, records."""
