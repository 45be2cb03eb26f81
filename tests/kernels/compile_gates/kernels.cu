// Read by compile_gates.py alone: one kernel states its register cap, one does not.
template <int D>
__global__ void __launch_bounds__(128, 2) capped(float* out);
__global__ void uncapped(float* out);
