# Print requirements.txt without torch and what only its CUDA build needs.
/^[a-z0-9]/ { is_kept = !/^(torch|torchvision|torchaudio|triton)==|^(nvidia|cuda)-/ }
is_kept
