// As much of Core ML as generated classes use, to check them where there is none. Signatures as Apple documents them.
#pragma once
#include <Foundation/Foundation.h>

typedef struct __CVBuffer *CVPixelBufferRef;
CVPixelBufferRef _Nullable CVPixelBufferRetain(CVPixelBufferRef _Nullable buffer);
void CVPixelBufferRelease(CVPixelBufferRef _Nullable buffer);

NS_ASSUME_NONNULL_BEGIN
@class MLFeatureValue;
@protocol MLFeatureProvider
@property (readonly, nonatomic) NSSet<NSString *> *featureNames;
- (nullable MLFeatureValue *)featureValueForName:(NSString *)name;
@end
@protocol MLBatchProvider
@property (readonly, nonatomic) NSInteger count;
- (id<MLFeatureProvider>)featuresAtIndex:(NSInteger)index;
@end
@interface MLMultiArray : NSObject
@end
@interface MLSequence : NSObject
@end
@interface MLState : NSObject
@end
@interface MLModelConfiguration : NSObject
@end
@interface MLPredictionOptions : NSObject
@end
@interface MLArrayBatchProvider : NSObject <MLBatchProvider>
- (instancetype)initWithFeatureProviderArray:(NSArray<id<MLFeatureProvider>> *)array;
@end
@interface MLFeatureValue : NSObject
@property (readonly, nonatomic) int64_t int64Value;
@property (readonly, nonatomic) double doubleValue;
@property (readonly, nonatomic) NSString *stringValue;
@property (readonly, nonatomic, nullable) CVPixelBufferRef imageBufferValue;
@property (readonly, nonatomic, nullable) MLMultiArray *multiArrayValue;
@property (readonly, nonatomic, nullable) MLSequence *sequenceValue;
@property (readonly, nonatomic) NSDictionary<id, NSNumber *> *dictionaryValue;
+ (instancetype)featureValueWithInt64:(int64_t)value;
+ (instancetype)featureValueWithDouble:(double)value;
+ (instancetype)featureValueWithString:(NSString *)value;
+ (instancetype)featureValueWithPixelBuffer:(CVPixelBufferRef)value;
+ (instancetype)featureValueWithMultiArray:(MLMultiArray *)value;
+ (instancetype)featureValueWithSequence:(MLSequence *)value;
+ (nullable instancetype)featureValueWithDictionary:(NSDictionary<id, NSNumber *> *)value error:(NSError *_Nullable *_Nullable)error;
@end
@interface MLModel : NSObject
+ (nullable instancetype)modelWithContentsOfURL:(NSURL *)url error:(NSError *_Nullable *_Nullable)error;
+ (nullable instancetype)modelWithContentsOfURL:(NSURL *)url configuration:(MLModelConfiguration *)configuration error:(NSError *_Nullable *_Nullable)error;
+ (void)loadContentsOfURL:(NSURL *)url
            configuration:(MLModelConfiguration *)configuration
        completionHandler:(void (^)(MLModel *_Nullable model, NSError *_Nullable error))handler;
- (nullable id<MLFeatureProvider>)predictionFromFeatures:(id<MLFeatureProvider>)input
                                                 options:(MLPredictionOptions *)options
                                                   error:(NSError *_Nullable *_Nullable)error;
- (void)predictionFromFeatures:(id<MLFeatureProvider>)input
             completionHandler:(void (^)(id<MLFeatureProvider> _Nullable output, NSError *_Nullable error))handler;
- (void)predictionFromFeatures:(id<MLFeatureProvider>)input
                       options:(MLPredictionOptions *)options
             completionHandler:(void (^)(id<MLFeatureProvider> _Nullable output, NSError *_Nullable error))handler;
- (nullable id<MLBatchProvider>)predictionsFromBatch:(id<MLBatchProvider>)batch
                                             options:(MLPredictionOptions *)options
                                               error:(NSError *_Nullable *_Nullable)error;
- (MLState *)newState;
- (nullable id<MLFeatureProvider>)predictionFromFeatures:(id<MLFeatureProvider>)input
                                              usingState:(MLState *)state
                                                 options:(MLPredictionOptions *)options
                                                   error:(NSError *_Nullable *_Nullable)error;
@end
NS_ASSUME_NONNULL_END
