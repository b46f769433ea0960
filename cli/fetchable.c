/* fetchable.c: see fetchable.h.
 *
 * WikiText (Merity et al. 2016, arXiv:1609.07843), the raw texts. Where it was published, an S3 bucket of
 * research.metamind.io, answers 403 since 2024. First its author's own host, then copies of the same archives on
 * Hugging Face, named by their commits. Sizes and SHA-256 are those that Hugging Face's `datasets` recorded of the
 * original ones (datasets/wikitext/dataset_infos.json, "download_checksums"; mlx-data's wikitext.py and DataDeps of
 * Julia's CorpusLoaders have the same SHA-256).
 */
#include "cli/fetchable.h"

#include <string.h>

const struct fetchable fetchables[] = {
    {
        .name = "wikitext-103",
        .archive = "wikitext-103-raw-v1.zip",
        .bytes = 191984949,
        .sha256 = "91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
        .urls = {"https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
                 "https://huggingface.co/datasets/mattdangerw/wikitext-103-raw/resolve/"
                 "3555105b17ae31cc619a136fac72dbe2865c3738/wikitext-103-raw-v1.zip"},
        .members = {{"wikitext-103-raw/wiki.train.raw", "wiki.train.raw"},
                    {"wikitext-103-raw/wiki.valid.raw", "wiki.valid.raw"},
                    {"wikitext-103-raw/wiki.test.raw", "wiki.test.raw"}},
    },
    {
        .name = "wikitext-2",
        .archive = "wikitext-2-raw-v1.zip",
        .bytes = 4721645,
        .sha256 = "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        .urls = {"https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
                 "https://huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/"
                 "wikitext-2-raw-v1.zip"},
        .members = {{"wikitext-2-raw/wiki.train.raw", "wiki.train.raw"},
                    {"wikitext-2-raw/wiki.valid.raw", "wiki.valid.raw"},
                    {"wikitext-2-raw/wiki.test.raw", "wiki.test.raw"}},
    },
};
const size_t fetchable_count = sizeof fetchables / sizeof *fetchables;

const struct fetchable *fetchable_find(const char *name)
{
    for (size_t i = 0; i < fetchable_count; i++)
        if (strcmp(fetchables[i].name, name) == 0)
            return &fetchables[i];
    return NULL;
}
