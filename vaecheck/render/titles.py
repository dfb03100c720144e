"""What every measure is called in plain words: literal tables, so that no form of a report has its own."""

from __future__ import annotations

_MEASURES = {
    "psnr_db": "PSNR",
    "ssim": "SSIM",
    "lpips_alex": "LPIPS (AlexNet)",
    "lpips_vgg": "LPIPS (VGG)",
    "lpips_squeeze": "LPIPS (SqueezeNet)",
    "rfid": "rFID",
    "kid": "KID",
    "psnr_border_db": "PSNR beside the padding",
    "psnr_inside_db": "PSNR elsewhere in the same pictures",
    "seam_error_ratio": "Error at the seams of tiles",
    "tiling_psnr_db": "PSNR of tiles against whole",
    "kl_nats_per_image": "KL per picture",
    "kl_nats_per_element": "KL per latent value",
    "kl_bits_per_pixel": "KL per pixel",
    "codebook_use": "Codebook used",
    "codebook_perplexity": "Codebook perplexity",
    "latent_mean": "Mean of the latents",
    "latent_std": "Std of the latents",
    "posterior_std": "Std of the posterior",
    "latent_shape": "Latent shape",
    "compression_ratio": "Compression",
    "encode_images_per_second": "Encoding",
    "decode_images_per_second": "Decoding",
    "peak_memory_bytes": "Peak memory",
    "encode_flops_per_image": "Encoding one picture",
    "decode_flops_per_image": "Decoding one picture",
    "latent_skew": "Skewness of the latents",
    "latent_kurtosis": "Excess kurtosis of the latents",
    "channel_correlation": "Correlation between channels",
    "effective_rank": "Effective rank of the channels",
    "condition_number": "Condition number of the channels",
    "active_units": "Active units",
    "posterior_snr_db": "Signal to noise of the posterior",
    "dead_channel_count": "Dead channels",
    "saturated_share": "Saturated latents",
    "sec_25": "Spectral energy above a quarter",
    "sec_50": "Spectral energy above a half",
    "spectral_slope": "Spectral slope of the latents",
    "rgb_spectral_slope": "Spectral slope of the pictures",
    "spectral_slope_gap": "Spectral slope, latents less pictures",
    "correlation_length": "Length of correlation",
    "lds": "Near against far similarity (LDS)",
    "cds": "Decay of similarity with distance (CDS)",
    "equivariance_rotation": "Equivariance error, rotations",
    "equivariance_scale": "Equivariance error, scales",
    "intrinsic_dimension": "Intrinsic dimension (TwoNN)",
    "viv": "Velocity irreducible variance (VIV)",
    "lnc": "Same class among nearest neighbours (LNC)",
    "ifid": "iFID",
    "noise_psnr_db_10": "PSNR with latent noise of 0.1 std",
    "noise_psnr_db_20": "PSNR with latent noise of 0.2 std",
    "noise_mse_doubling": "Latent noise that doubles the squared error",
    "noise_lpips_doubling": "Latent noise that doubles LPIPS",
    "decoder_sensitivity": "Sensitivity of the decoder",
}


_FAMILIES = {
    "fd_": "Frechet distance, {}",
    "ifd_": "Frechet distance halfway between neighbours, {}",
    "autocorrelation_": "Correlation of latents {} apart",
}


def title_of(name: str) -> str:
    """Of a measure by its key; an unknown key is its own title."""
    for family, words in _FAMILIES.items():
        if name.startswith(family):
            return words.format(name.removeprefix(family))
    return _MEASURES.get(name, name)
