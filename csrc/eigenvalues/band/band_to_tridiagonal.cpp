#include "eigenvalues/band/band_to_tridiagonal.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "eigenvalues/band/chase.h"
#include "lmscope/context.h"
#include "lmscope/isa.h"
#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

const Chase& chase_kernels() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return chase_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return chase_avx2;
#endif
    return chase_scalar;
}

// An odd number of cache lines, so that a block's columns fall into different sets of the cache, and room for a column
// with 2 width rows from its diagonal on, up to whole vectors on both sides.
constexpr int64_t line = 8;
constexpr int64_t stride = ((2 * band_width + 2 * widest_vector) / line | 1) * line;

// A band matrix on its way to tridiagonal form: entry (i, j) at matrix[i + j * stride], with zeros from the order on,
// so that all blocks are whole.
class Workspace {
public:
    explicit Workspace(const Band& band) {
        const int64_t before = widest_vector;
        const int64_t columns = band.order + 2 * band_width + widest_vector;
        const int64_t total = before + columns * (stride + 1);
        entries_ = AlignedBuffer(total);
        std::fill_n(entries_.data(), total, 0.0);
        matrix_ = entries_.data() + before;
        double largest = 0;
        for (int64_t i = 0; i < (band_width + 1) * band.order; ++i)
            largest = std::max(largest, std::fabs(band.entries[i]));
        if (largest > 0) exponent_ = std::ilogb(largest);
        for (int64_t j = 0; j < band.order; ++j)
            for (int64_t below = 0; below <= std::min(band_width, band.order - 1 - j); ++below) {
                const double entry = std::scalbn(band.entries[below + j * (band_width + 1)], -exponent_);
                at(j + below, j) = entry;
            }
    }

    double* matrix() { return matrix_; }
    double value(int64_t row, int64_t column) { return std::scalbn(at(row, column), exponent_); }

private:
    double& at(int64_t row, int64_t column) { return matrix_[row + column * stride]; }

    // The largest magnitude is scaled to about 1 by a power of two, which leaves the squares of all others that matter
    // in range.
    int exponent_ = 0;
    AlignedBuffer entries_;
    double* matrix_ = nullptr;
};

// Sweep s annihilates column s below its first off-diagonal entry and chases the bulge that this raises down the band,
// one step for each block of `band_width` rows. Every step reads what the sweep before has left there, nothing else, so
// that the bits do not depend on the order in time. Step k of a sweep follows step k + 1 of the sweep before.
class Sweeps {
public:
    Sweeps(int64_t order, double* matrix) : order_(order), matrix_(matrix) {
        // Sweeps of one group run one step apart, on blocks that stay in the core's own cache. Threads work on groups
        // behind each other, all of which must fit between the two ends of the matrix.
        const int64_t steps = steps_of(0);
        group_ = std::clamp<int64_t>(steps / (2 * num_threads()), 1, most_sweeps);
        groups_ = (order - 2 + group_ - 1) / group_;
        progress_ = std::vector<Progress>(static_cast<size_t>(groups_));
    }

    // Groups are claimed in ascending order, so that the one before is always at work or done, however many threads
    // there are.
    void run() {
        parallel_for(std::min<int64_t>(num_threads(), groups_), [&](int64_t) {
            for (int64_t group; (group = next_.fetch_add(1)) < groups_;) chase_group(group);
        });
    }

private:
    static constexpr int64_t most_sweeps = 8;

    // Steps that a group's last sweep has ended, on a cache line of its own.
    struct alignas(64) Progress {
        std::atomic<int64_t> steps{0};
    };

    int64_t steps_of(int64_t sweep) const { return (order_ - 2 - sweep) / band_width + 1; }

    void chase_group(int64_t group) {
        const int64_t begin = group * group_;
        const int64_t count = std::min(group_, order_ - 2 - begin);
        Reflector reflectors[most_sweeps];
        int64_t before_done = 0;
        std::atomic<int64_t>& done = progress_[static_cast<size_t>(group)].steps;
        for (int64_t time = 0; time < steps_of(begin) + count - 1; ++time)
            for (int64_t member = 0; member < count; ++member) {
                const int64_t sweep = begin + member;
                const int64_t step = time - member;
                if (step < 0 || step >= steps_of(sweep)) continue;
                if (member == 0 && group > 0) {
                    const int64_t needed = std::min(step + 2, steps_of(sweep - 1));
                    if (before_done < needed)
                        before_done = wait(progress_[static_cast<size_t>(group - 1)].steps, needed);
                }
                (step == 0 ? chase_.start : chase_.next)(matrix_, stride, sweep + 1 + step * band_width,
                                                         &reflectors[member]);
                if (member == count - 1) done.store(step + 1, std::memory_order_release);
            }
    }

    static int64_t wait(const std::atomic<int64_t>& done, int64_t needed) {
        constexpr int looks_before_yielding = 2000;
        for (int look = 0;; ++look) {
            const int64_t steps = done.load(std::memory_order_acquire);
            if (steps >= needed) return steps;
            if (look < looks_before_yielding) {
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            } else {
                std::this_thread::yield();
            }
        }
    }

    const Chase& chase_ = chase_kernels();
    int64_t order_;
    double* matrix_;
    int64_t group_;
    int64_t groups_;
    std::vector<Progress> progress_;
    std::atomic<int64_t> next_{0};
};

}  // namespace

Tridiagonal band_to_tridiagonal(const Band& band) {
    Workspace workspace(band);
    Sweeps(band.order, workspace.matrix()).run();
    Tridiagonal result;
    for (int64_t i = 0; i < band.order; ++i) {
        result.diagonal.push_back(workspace.value(i, i));
        if (i + 1 < band.order) result.off_diagonal.push_back(workspace.value(i + 1, i));
    }
    return result;
}

}  // namespace lmscope::eigenvalues
