/* fuzz_journal.c: any bytes as a line of a journal. A record must print to a line that is read as the same record, and
 * must be the one that the strict reader finds (a blank in front turns the scanner away).
 *
 * fuzz-sources: base/err.c base/gpu_health.c base/json.c base/spare.c base/json_check.c
 * fuzz-sources: schema/journal_number.c schema/journal_parse.c schema/journal_print.c
 * fuzz-libs: -lcjson -lm
 * fuzz-max-len: 4096
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "schema/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal_record record, again;
    struct err err = {0};
    char first[JOURNAL_LINE_MAX], second[JOURNAL_LINE_MAX], blank[JOURNAL_LINE_MAX + 1];
    int rc = journal_parse((const char *)data, size, &record, &err);
    if (size < JOURNAL_LINE_MAX) {
        blank[0] = ' ';
        memcpy(blank + 1, data, size);
        require(journal_parse(blank, size + 1, &again, NULL) == rc);
    }
    if (rc < 0) {
        require(rc == -ERR_DAMAGED && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    size_t n = journal_print(&record, first);
    require(n < JOURNAL_LINE_MAX && first[n - 1] == '\n' && !memchr(first, '\n', n - 1));
    if (size < JOURNAL_LINE_MAX) {
        require(journal_print(&again, second) == n);
        require(memcmp(first, second, n) == 0);
    }
    require(journal_parse(first, n - 1, &again, &err) == 0);
    require(journal_print(&again, second) == n && memcmp(first, second, n) == 0);
    return 0;
}
