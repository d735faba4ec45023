/* Keeps freed memory in the process, so that the next transaction need not get it from the kernel again.
 *
 * A transaction allocates some megabytes and frees all of them. Without this module, CPython and malloc return the
 * memory to the kernel after each transaction, and the next one pays a page fault for each 4 KiB. The kept memory is
 * bounded.
 * _memory.pyi describes the interface.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#define MOST_KEPT 128
#define LEAST_ARENA_BYTES (256 * 1024) /* the allocator of arenas also serves the stacks of frames: 16 KiB each */

static PyObjectArenaAllocator system_arenas;
static void *kept[MOST_KEPT];
static size_t kept_bytes; /* the size of each kept arena: all arenas of CPython have one size */
static int kept_count;
static int most_kept;
static int is_installed;

static void *
take_arena(void *context, size_t bytes)
{
    (void)context;
    if (kept_count > 0 && bytes == kept_bytes) {
        return kept[--kept_count];
    }
    return system_arenas.alloc(system_arenas.ctx, bytes);
}

static void
free_arena(void *context, void *arena, size_t bytes)
{
    (void)context;
    int is_arena = bytes >= LEAST_ARENA_BYTES;
    if (is_arena && kept_count == 0) {
        kept_bytes = bytes;
    }
    if (is_arena && kept_count < most_kept && bytes == kept_bytes) {
        kept[kept_count++] = arena;
        return;
    }
    system_arenas.free(system_arenas.ctx, arena, bytes);
}

static PyObject *
keep_freed_memory(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    long arenas = count == 2 ? PyLong_AsLong(arguments[0]) : -1;
    if (PyErr_Occurred()) {
        return NULL;
    }
    long malloc_bytes = count == 2 ? PyLong_AsLong(arguments[1]) : -1;
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (arenas < 0 || arenas > MOST_KEPT || malloc_bytes < 0 || malloc_bytes > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "keep_freed_memory takes a number of arenas and a number of bytes");
        return NULL;
    }
    if (!is_installed) {
        is_installed = 1;
        PyObject_GetArenaAllocator(&system_arenas);
        PyObjectArenaAllocator keeping = {NULL, take_arena, free_arena};
        PyObject_SetArenaAllocator(&keeping);
    }
    most_kept = (int)arenas;
    while (kept_count > most_kept) {
        kept_count--;
        system_arenas.free(system_arenas.ctx, kept[kept_count], kept_bytes);
    }
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, (int)malloc_bytes);
    mallopt(M_TRIM_THRESHOLD, (int)malloc_bytes);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"keep_freed_memory", (PyCFunction)(void (*)(void))keep_freed_memory, METH_FASTCALL, "Keep freed memory."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consumer.service._memory",
    .m_doc = "Keeps freed memory.",
    .m_size = 0,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__memory(void)
{
    return PyModuleDef_Init(&definition);
}
