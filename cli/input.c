#include "cli/input.h"

#include <string.h>
#include <unistd.h>
#include "base/file.h"

const char *input_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

int input_read(const char *path, size_t max_size, char **out, size_t *size, struct err *err)
{
    if (strcmp(path, "-") == 0)
        return file_read_fd(STDIN_FILENO, input_name(path), max_size, out, size, err);
    return file_read_all(path, max_size, out, size, err);
}
