/* path.c: see path.h. Failures: a path of PATH_SIZE bytes or more (ERR_TOO_LARGE), no home directory to build on. */
#include "base/path.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"

int path_format(char out[PATH_SIZE], struct err *err, const char *format, ...)
{
    char text[PATH_SIZE];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n < 0 || n >= PATH_SIZE)
        return err_set(err, ERR_TOO_LARGE, "the path \"%.64s...\" is longer than %d bytes", n < 0 ? "" : text,
                       PATH_SIZE - 1);
    memcpy(out, text, (size_t)n + 1);
    return 0;
}

bool name_is_valid(const char *name)
{
    if (!name)
        return false;
    size_t n = strnlen(name, NAME_SIZE);
    if (n == 0 || n >= NAME_SIZE)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool alphanumeric = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!alphanumeric && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

int path_absolute(const char *path, char out[PATH_SIZE], struct err *err)
{
    char cwd[PATH_SIZE];
    int rc;
    if (path[0] == '/') {
        rc = path_format(out, err, "%s", path);
    } else {
        if (!getcwd(cwd, sizeof cwd))
            return err_set_errno(err, errno, "cannot read the current directory");
        rc = path_format(out, err, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, path);
    }
    if (rc < 0)
        return rc;
    for (size_t n = strlen(out); n > 1 && out[n - 1] == '/'; n--)
        out[n - 1] = 0;
    return 0;
}

int path_home(const char *flag, char out[PATH_SIZE], struct err *err)
{
    if (flag && !*flag)
        return err_set_at(err, ERR_INVALID, "--home", "--home is empty: a directory is needed");
    const char *given = flag ? flag : getenv("BAKA_HOME"); /* empty is not set, as the XDG specification has it */
    if (given && *given)
        return path_absolute(given, out, err);
    char path[PATH_SIZE];
    int rc;
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && state[0] == '/') /* the XDG specification: a relative path is to be ignored */
        rc = path_format(path, err, "%s/baka", state);
    else if (home && *home)
        rc = path_format(path, err, "%s/.local/state/baka", home);
    else
        return err_set(err, ERR_INVALID, "no state directory: give --home, or set BAKA_HOME or HOME");
    return rc < 0 ? rc : path_absolute(path, out, err);
}

int path_self_dir(char out[PATH_SIZE], struct err *err)
{
    char path[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return err_set_errno(err, errno, "cannot read /proc/self/exe");
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (!slash)
        return err_set(err, ERR_INTERNAL, "/proc/self/exe is \"%.200s\", which has no directory", path);
    if (slash == path)
        slash++;
    *slash = 0;
    return path_format(out, err, "%s", path);
}

int path_sibling_program(const char *name, char out[PATH_SIZE], struct err *err)
{
    static const char *const places[] = {"", "/../daemon", "/../worker", "/../cli"};
    char dir[PATH_SIZE], path[PATH_SIZE];
    int rc = path_self_dir(dir, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        rc = path_format(path, err, "%s%s/%s", dir, places[i], name);
        if (rc < 0)
            return rc;
        if (access(path, X_OK) == 0)
            return path_format(out, err, "%s", path);
    }
    return err_set(err, ERR_NOT_FOUND, "the program %s is neither in %s nor beside it", name, dir);
}
