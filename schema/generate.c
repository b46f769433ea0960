/* generate.c: a program of the build: prints spec.schema.json or docs/spec.md from the field table. Exit 0; 1 when
 * standard output fails; 2 for other arguments. */
#include <stdio.h>
#include <string.h>
#include "schema/spec.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "schema") == 0) {
        spec_print_json_schema(stdout);
    } else if (argc == 2 && strcmp(argv[1], "markdown") == 0) {
        spec_print_markdown(stdout);
    } else {
        fprintf(stderr, "usage: generate schema|markdown\n");
        return 2;
    }
    return fflush(stdout) != 0 || ferror(stdout) ? 1 : 0;
}
