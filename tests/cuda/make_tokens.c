/* make_tokens.c: a data set of any vocabulary without a text: random tokens whose frequencies follow Zipf's law, as
 * tests/bench/torch_ref.py draws them, or words that follow each other by rule, which a small model can learn. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/philox.h"
#include "text/token_file.h"

enum { PIECE = 1 << 16, DOCUMENT = 5000 };

struct source {
    struct philox random;
    int32_t vocab;
    double *cumulative; /* probability of the ranks up to each */
    int32_t *id;        /* of a rank: ranks are scattered over the vocabulary */
    int word;
    const char *letters; /* what is left of the word */
};

static void *take(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (!p)
        abort();
    return p;
}

/* p(rank) ~ 1 / (rank + 2.7). */
static void zipf_init(struct source *s, int32_t vocab)
{
    s->vocab = vocab;
    s->cumulative = take((size_t)vocab, sizeof *s->cumulative);
    s->id = take((size_t)vocab, sizeof *s->id);
    double sum = 0;
    for (int32_t i = 0; i < vocab; i++) {
        s->cumulative[i] = sum += 1 / (i + 2.7);
        int32_t j = (int32_t)philox_below(&s->random, (uint64_t)i + 1);
        s->id[i] = s->id[j];
        s->id[j] = i;
    }
    for (int32_t i = 0; i < vocab; i++)
        s->cumulative[i] /= sum;
}

static int32_t zipf_next(struct source *s)
{
    double u = philox_uniform(&s->random);
    int32_t low = 0, high = s->vocab - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (s->cumulative[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return s->id[low];
}

static int32_t words_next(struct source *s)
{
    static const char *const words[] = {"the ",   "elephant ", "walks ",  "over ",  "small ",
                                        "hills ", "and ",      "sleeps ", "under ", "trees "};
    enum { WORDS = sizeof words / sizeof *words };
    if (!s->letters || !*s->letters) {
        s->word = philox_uniform(&s->random) < 0.8 ? (s->word * 3 + 1) % WORDS : (int)philox_below(&s->random, WORDS);
        s->letters = words[s->word];
    }
    return (unsigned char)*s->letters++;
}

static int write_set(const char *home, const char *name, bool words, int32_t vocab, int64_t count,
                     struct share held_out, uint64_t seed, struct err *err)
{
    struct token_writer *w = NULL;
    struct source s = {0};
    static int32_t ids[PIECE];
    philox_init(&s.random, seed, "make_tokens", words ? "words" : "zipf");
    if (!words)
        zipf_init(&s, vocab);
    int rc = token_writer_create(home, name, words ? "bytes" : "zipf", (uint64_t)vocab, 1, &w, err);
    for (int64_t at = 0; rc == 0 && at < count;) {
        int64_t left = count - at, n = words ? DOCUMENT : PIECE;
        n = left < n ? left : n;
        for (int64_t i = 0; i < n; i++)
            ids[i] = words ? words_next(&s) : zipf_next(&s);
        if (words || at == 0)
            rc = token_writer_begin_document(w, err);
        if (rc == 0)
            rc = token_writer_add(w, ids, (size_t)n, words ? (uint64_t)n : 0, err);
        at += n;
    }
    struct token_file_header made;
    if (rc == 0)
        rc = token_writer_finish(w, held_out, &made, err);
    token_writer_destroy(w);
    free(s.cumulative);
    free(s.id);
    if (rc == 0)
        printf("%s: %llu tokens, %llu to train, vocabulary %llu\n", name, (unsigned long long)made.count,
               (unsigned long long)made.train_count, (unsigned long long)made.vocab);
    return rc;
}

static void usage(FILE *out)
{
    fputs("usage: make_tokens --home DIR --name NAME --count N [--vocab N] [--words] [--val-fraction F] [--seed N]\n"
          "\n"
          "Writes the data set HOME/data/NAME, in place of one that is there: random tokens below --vocab (default\n"
          "50304) whose frequencies follow Zipf's law, or bytes of made-up sentences with --words.\n",
          out);
}

int main(int argc, char **argv)
{
    enum { HOME = 256, NAME, COUNT, VOCAB, WORDS, HELD_OUT, SEED };
    static const struct option options[] = {
        {"home", required_argument, NULL, HOME},
        {"name", required_argument, NULL, NAME},
        {"count", required_argument, NULL, COUNT},
        {"vocab", required_argument, NULL, VOCAB},
        {"words", no_argument, NULL, WORDS},
        {"val-fraction", required_argument, NULL, HELD_OUT},
        {"seed", required_argument, NULL, SEED},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *home = NULL, *name = NULL;
    bool words = false, bad_share = false;
    long long vocab = 50304, count = 0;
    struct share held_out = {0};
    uint64_t seed = 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == HOME)
            home = optarg;
        else if (c == NAME)
            name = optarg;
        else if (c == COUNT)
            count = atoll(optarg);
        else if (c == VOCAB)
            vocab = atoll(optarg);
        else if (c == WORDS)
            words = true;
        else if (c == HELD_OUT)
            bad_share = share_parse(optarg, &held_out, NULL) != 0;
        else if (c == SEED)
            seed = strtoull(optarg, NULL, 10);
        else {
            usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    if (!home || !name || count < 2 || vocab < 1 || vocab > INT32_MAX || bad_share) {
        usage(stderr);
        return 2;
    }
    struct err err = {0};
    if (write_set(home, name, words, words ? 256 : (int32_t)vocab, count, held_out, seed, &err) != 0) {
        fprintf(stderr, "make_tokens: %s\n", err.message);
        return 1;
    }
    return 0;
}
