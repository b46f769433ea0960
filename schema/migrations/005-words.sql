-- exp of the nats a word; NULL where the data set's words are not known.

ALTER TABLE evals ADD COLUMN word_perplexity ANY;
